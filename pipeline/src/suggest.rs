//! "Did you mean": the closest of some known words.

/// The word in `known` that is closest to `word`, if it is close enough to be a slip of the hand:
/// one letter and a third of its letters wrong at most (Levenshtein distance), or, from three
/// letters on, one is part of the other.
#[must_use]
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            let is_part = candidate.contains(word) || word.contains(candidate);
            let is_long = word.len().min(candidate.len()) >= 3;
            (*distance < word.len() && *distance <= 1 + candidate.len() / 3) || (is_part && is_long)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let kinds = ["scenes", "probe", "motion"];
        assert_eq!(closest("scene", kinds), Some("scenes"));
        assert_eq!(closest("porbe", kinds), Some("probe"));
        assert_eq!(closest("xylophone", kinds), None);
        assert_eq!(closest("x", ["quality.txt", "y"]), None);
    }
}
