-- A batch of codes is entered as dispatched once: a second command that finishes the first one's work finds it there.

DELETE FROM people.dispatches AS again USING people.dispatches AS before
    WHERE (again.ballot, again.batch, again.uin) = (before.ballot, before.batch, before.uin) AND again.ctid > before.ctid;
CREATE UNIQUE INDEX dispatches_once ON people.dispatches (ballot, batch, uin);
