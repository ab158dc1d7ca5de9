"""What must be spelt the same on both sides of a border: pure values and rules, bytes in, values out.

Nothing here opens a file or a socket, reads a clock or draws randomness by itself; clock and randomness are
arguments.

ballot: one set of questions put to one electorate · code: what a voter receives · credential: the public key
derived from the code · sealed vote: padded answers encrypted to the ballot's key · receipt: reference, time
and digest, signed · document: the definition and keys, signed by the desk.
"""
