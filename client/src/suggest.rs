//! Owns the guess at what a mistyped word was meant to be.

/// The word of `known` that is nearest to `word`, where it is near enough to be a slip of the fingers: at most two
/// edits (insert, delete, replace, swap neighbours), and less than half of the word.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no slip, and the bound keeps the table below small.
    const LONGEST: usize = 32;
    let letters: Vec<char> = word.chars().take(LONGEST + 1).collect();
    if letters.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (distance(&letters, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(edits, candidate)| *edits <= 2 && edits * 2 < candidate.len().max(letters.len()))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: Levenshtein's, with a swap of two neighbours as one edit.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["cp", "wait", "info", "timeout", "kill-after"];

    #[test]
    fn slips_are_recognised() {
        for (typed, meant) in [
            ("wiat", "wait"),
            ("inof", "info"),
            ("copy", ""),
            ("timout", "timeout"),
            ("killafter", "kill-after"),
            ("waiit", "wait"),
        ] {
            assert_eq!(nearest(typed, KNOWN).unwrap_or(""), meant, "{typed}");
        }
    }

    #[test]
    fn other_words_are_left_alone() {
        for typed in ["guest", "x", "", "3", "a-very-long-word-that-nobody-mistyped-at-all"] {
            assert_eq!(nearest(typed, KNOWN), None, "{typed}");
        }
    }

    #[test]
    fn distances_count_edits() {
        let distance = |a: &str, b: &str| {
            super::distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
        };
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
