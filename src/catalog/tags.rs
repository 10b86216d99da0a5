//! Sets of tags that many runs have.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::rows::shared_tags;
use crate::model::Text;

/// How many sets are remembered.
const SETS: usize = 256;

/// The sets of tags that runs were given lately, so that runs with the same tags share one. What is remembered is bounded: a
/// set has one place, by its hash, and the newest stays there.
#[derive(Debug, Default)]
pub(crate) struct TagSets {
    sets: Vec<Option<Arc<[Arc<str>]>>>,
}

impl TagSets {
    /// The tags in the form in which rows keep them.
    pub(crate) fn share(&mut self, tags: &[Text]) -> Arc<[Arc<str>]> {
        let mut hasher = DefaultHasher::new();
        tags.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
        let at = hasher.finish() as usize % SETS;
        if self.sets.is_empty() {
            self.sets.resize(SETS, None);
        }
        let place = &mut self.sets[at];
        match place {
            Some(set) if set.iter().map(|tag| &**tag).eq(tags.iter().map(Text::as_str)) => set.clone(),
            _ => place.insert(shared_tags(tags)).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_equal_sets_are_shared_and_the_newest_are_remembered() {
        let mut sets = TagSets::default();
        let one = sets.share(&["a".into(), "b".into()]);
        assert!(Arc::ptr_eq(&one, &sets.share(&["a".into(), "b".into()])));
        let other = sets.share(&["b".into(), "a".into()]);
        assert_eq!(&*other, &["b".into(), "a".into()]);
        for number in 0..10 * SETS {
            let tag = Text::from(number.to_string());
            assert_eq!(*sets.share(std::slice::from_ref(&tag))[0], *tag);
        }
        assert!(sets.sets.len() <= SETS);
    }
}
