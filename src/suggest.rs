//! "Did you mean": the nearest of the known words.

/// The longest text that is compared; nobody mistypes forty letters.
const LENGTH_MAX: usize = 40;

/// The known word nearest to `text`, if it is near: the same but for letter case, or with at most a third of its letters
/// changed, missing or added.
pub(crate) fn nearest<'w>(text: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if text.is_empty() || text.len() > LENGTH_MAX {
        return None;
    }
    let lower = text.to_lowercase();
    known
        .map(|word| (distance(&lower, &word.to_lowercase()), word))
        .filter(|&(distance, word)| {
            distance <= (word.len().max(text.len()) / 3).max(1) && distance < word.len()
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, word)| word)
}

/// The tail of a message that offers `suggestion`.
pub(crate) fn phrase(suggestion: Option<&str>) -> String {
    suggestion
        .map(|word| format!(" (did you mean `{word}`?)"))
        .unwrap_or_default()
}

/// Single-character edits, neighbours swapped counting as one, between two texts.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let mut best = (row[j] + 1)
                .min(next[j - 1] + 1)
                .min(row[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_the_nearest_word_is_offered_if_it_is_near() {
        let known = || ["tags", "paused", "state_type", "state_name"].into_iter();
        assert_eq!(nearest("tag", known()), Some("tags"));
        assert_eq!(nearest("PAUSED", known()), Some("paused"));
        assert_eq!(nearest("sttae_type", known()), Some("state_type"));
        assert_eq!(nearest("colour", known()), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known()), None);
    }
}
