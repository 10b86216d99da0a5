//! The states that a run has left.

use std::sync::Arc;

use crate::model::{StateType, Text};

/// One state, as it was left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Left {
    pub(crate) at: i64,
    pub(crate) kind: StateType,
    /// Name and message, where the name is not the kind's own or there is a message.
    said: Option<Box<(Text, Option<Text>)>>,
}

impl Left {
    pub(crate) fn new(kind: StateType, name: Text, message: Option<Text>, at: i64) -> Self {
        let plain = message.is_none() && name == kind.default_name();
        Self {
            at,
            kind,
            said: (!plain).then(|| Box::new((name, message))),
        }
    }

    pub(crate) fn name(&self) -> Text {
        self.said
            .as_ref()
            .map_or_else(|| self.kind.default_name(), |said| said.0.clone())
    }

    pub(crate) fn message(&self) -> Option<Text> {
        self.said.as_ref()?.1.clone()
    }
}

/// How many of the first states are kept whatever follows: what a run that ends at its first attempt leaves.
const FIRST: usize = 3;

#[derive(Clone, Debug, Default)]
struct States {
    first: [Option<Left>; FIRST],
    later: Vec<Left>,
    dropped: u32,
}

/// The states that a run has left, oldest first, up to a bound: the first three and the newest are kept.
///
/// A run that has only waited has none and costs a word; one that ends at its first attempt costs one allocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past(Option<Arc<States>>);

impl Past {
    /// Adds a state; keeps at most `most`, of which there must be none or more than three.
    pub(crate) fn push(&mut self, left: Left, most: usize) {
        if most == 0 {
            return;
        }
        let states = Arc::make_mut(self.0.get_or_insert_default());
        if let Some(free) = states.first.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(left);
            return;
        }
        if FIRST + states.later.len() >= most {
            states.later.remove(0);
            states.dropped = states.dropped.saturating_add(1);
        }
        states.later.push(left);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Left> {
        self.0
            .iter()
            .flat_map(|states| states.first.iter().flatten().chain(&states.later))
    }

    /// How many were let go between the first three and the next.
    pub(crate) fn dropped(&self) -> u32 {
        self.0.as_ref().map_or(0, |states| states.dropped)
    }

    /// The same again, from an export.
    pub(crate) fn restore(left: impl IntoIterator<Item = Left>, dropped: u32, most: usize) -> Self {
        let mut past = Self::default();
        left.into_iter().for_each(|left| past.push(left, most));
        if dropped > 0
            && let Some(states) = &mut past.0
        {
            let states = Arc::make_mut(states);
            states.dropped = states.dropped.saturating_add(dropped);
        }
        past
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_the_first_three_and_the_newest_are_kept() {
        let mut past = Past::default();
        for at in 0..10 {
            past.push(Left::new(StateType::Running, Text::of("Running"), None, at), 5);
        }
        let kept: Vec<i64> = past.iter().map(|left| left.at).collect();
        assert_eq!((kept.as_slice(), past.dropped()), (&[0, 1, 2, 8, 9][..], 5));
        let again = Past::restore(past.iter().cloned(), past.dropped(), 5);
        assert!(again.iter().eq(past.iter()));
        assert_eq!(again.dropped(), 5);
        let mut none = Past::default();
        none.push(Left::new(StateType::Running, Text::of("Running"), None, 0), 0);
        assert_eq!(none.iter().count(), 0);
    }
}
