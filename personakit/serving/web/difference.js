// Which words of two texts differ.

const MOST_CELLS = 4_000_000; // the table has words x words cells of two bytes
const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });

/** Return the words and signs of a text, each with the white space that follows it. */
function wordsOf(text) {
  const words = [];
  for (const { segment } of segmenter.segment(text)) {
    if (segment.trim() || !words.length) words.push({ word: segment, space: "" });
    else words.at(-1).space += segment;
  }
  return words;
}

/** Return the pairs of places of a longest common subsequence. */
function common(left, right) {
  const width = right.length + 1;
  const table = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      table[i * width + j] =
        left[i].word === right[j].word
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    if (left[i].word === right[j].word) pairs.push([i++, j++]);
    else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
    else j++;
  }
  return pairs;
}

/** Return words as pieces `{text, space, changed}`: neighbours of the same kind are one piece. */
function pieces(words, kept) {
  const made = [];
  words.forEach(({ word, space }, place) => {
    const last = made.at(-1);
    const changed = !kept.has(place);
    if (last?.changed === changed) Object.assign(last, { text: last.text + last.space + word, space });
    else made.push({ text: word, space, changed });
  });
  return made;
}

/**
 * Compare two texts by words; white space does not count.
 *
 * Returns the pieces of each, and how many words each has alone; null if the texts are too long.
 */
export function difference(left, right) {
  const [one, other] = [wordsOf(left), wordsOf(right)];
  if (one.length * other.length > MOST_CELLS) return null;
  const pairs = common(one, other);
  return {
    left: pieces(one, new Set(pairs.map(([place]) => place))),
    right: pieces(other, new Set(pairs.map(([, place]) => place))),
    removed: one.length - pairs.length,
    added: other.length - pairs.length,
  };
}
