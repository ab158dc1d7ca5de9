// How hard an English text is to read: the Flesch-Kincaid grade, with syllables counted by the usual rule of thumb.

/** Sentences of `text`, by their final marks. */
function sentences(text: string): string[] {
  return text.split(/[.!?]+(?=\s|$)/).filter((sentence) => words(sentence).length > 0);
}

function words(text: string): string[] {
  return text.match(/[a-z]+(?:['’][a-z]+)?/gi) ?? [];
}

/** Groups of vowels, without a silent e at the end. */
export function syllables(word: string): number {
  const bare = word
    .toLowerCase()
    .replace(/['’]s?$/, "")
    .replace(/(?:[^laeiouy]es|[^aeioutd]ed|[^laeiouy]e)$/, "");
  return Math.max(bare.match(/[aeiouy]{1,2}/g)?.length ?? 0, 1);
}

/** The American school grade that `text` asks for; the reader is about five years older. */
export function grade(text: string): number {
  const all = words(text);
  const spoken = all.reduce((total, word) => total + syllables(word), 0);
  return (0.39 * all.length) / sentences(text).length + (11.8 * spoken) / all.length - 15.59;
}
