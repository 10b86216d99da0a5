//! What is said of a run's state, and the states that it has left.

use std::sync::Arc;

use crate::model::{StateType, Text};

/// One state, as it was left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Left {
    pub(crate) at: i64,
    pub(crate) kind: StateType,
    said: Said,
}

/// Name and message of a state: one word, and nothing else while the name is the kind's own and there is no message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said(Option<Arc<(Text, Option<Text>)>>);

impl Said {
    #[inline]
    pub(crate) fn new(kind: StateType, name: Text, message: Option<Text>) -> Self {
        let plain = message.is_none() && name.is(&kind.default_name());
        Self((!plain).then(|| Arc::new((name, message))))
    }

    /// Of a record that may have no state at all, and then has no name.
    pub(crate) fn of(kind: Option<StateType>, name: Text, message: Option<Text>) -> Self {
        match kind {
            Some(kind) => Self::new(kind, name, message),
            None => Self((!name.is_empty() || message.is_some()).then(|| Arc::new((name, message)))),
        }
    }

    /// The kind's own name, and no more.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn name(&self, kind: Option<StateType>) -> Text {
        match &self.0 {
            Some(said) => said.0.clone(),
            None => kind.map_or(Text::of(""), StateType::default_name),
        }
    }

    /// As [`name`](Self::name), for who only reads.
    pub(crate) fn name_str(&self, kind: Option<StateType>) -> &str {
        match &self.0 {
            Some(said) => &said.0,
            None => kind.map_or("", StateType::default_str),
        }
    }

    pub(crate) fn message(&self) -> Option<Text> {
        self.0.as_ref()?.1.clone()
    }
}

impl Left {
    pub(crate) fn new(kind: StateType, name: Text, message: Option<Text>, at: i64) -> Self {
        Self {
            at,
            kind,
            said: Said::new(kind, name, message),
        }
    }

    pub(crate) fn name(&self) -> Text {
        self.said.name(Some(self.kind))
    }

    pub(crate) fn message(&self) -> Option<Text> {
        self.said.message()
    }
}

/// How many of the first states are kept whatever follows: what a run that ends at its first attempt leaves.
const FIRST: usize = 3;

/// What does not fit beside the run: names and messages of the first states, and all states after them.
#[derive(Clone, Debug, Default)]
struct More {
    said: [Said; FIRST],
    later: Vec<Left>,
    dropped: u32,
}

/// The states that a run has left, oldest first, up to a bound: the first three and the newest are kept.
///
/// The first three lie in place, and nothing is allocated while they have their kind's own name and no message: the
/// states of a run that ends at its first attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    first_at: [i64; FIRST],
    /// None from the first on that is not there yet.
    first: [Option<StateType>; FIRST],
    more: Option<Arc<More>>,
}

impl Past {
    /// Adds a state that was left; as [`push`](Self::push), and quick for what lies in place.
    #[inline]
    pub(crate) fn leave(&mut self, kind: StateType, said: Said, at: i64, most: usize) {
        if most > 0
            && said.is_plain()
            && let Some(free) = self.first.iter().position(Option::is_none)
        {
            self.first[free] = Some(kind);
            self.first_at[free] = at;
        } else {
            self.push(Left { at, kind, said }, most);
        }
    }

    /// Adds a state; keeps at most `most`, of which there must be none or more than three.
    #[cold]
    pub(crate) fn push(&mut self, left: Left, most: usize) {
        if most == 0 {
            return;
        }
        if let Some(free) = self.first.iter().position(Option::is_none) {
            self.first[free] = Some(left.kind);
            self.first_at[free] = left.at;
            if !left.said.is_plain() {
                self.more().said[free] = left.said;
            }
            return;
        }
        let more = self.more();
        if FIRST + more.later.len() >= most {
            more.later.remove(0);
            more.dropped = more.dropped.saturating_add(1);
        }
        more.later.push(left);
    }

    #[cold]
    fn more(&mut self) -> &mut More {
        Arc::make_mut(self.more.get_or_insert_default())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Left> + '_ {
        let said = |at: usize| {
            self.more
                .as_ref()
                .map_or_else(Said::default, |more| more.said[at].clone())
        };
        let first = (self.first.iter().zip(self.first_at).enumerate())
            .map_while(move |(at, (kind, instant))| Some((at, (*kind)?, instant)))
            .map(move |(at, kind, instant)| Left {
                at: instant,
                kind,
                said: said(at),
            });
        first.chain(self.more.iter().flat_map(|more| &more.later).cloned())
    }

    /// How many were let go between the first three and the next.
    pub(crate) fn dropped(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.dropped)
    }

    /// The same again, from an export.
    pub(crate) fn restore(left: impl IntoIterator<Item = Left>, dropped: u32, most: usize) -> Self {
        let mut past = Self::default();
        left.into_iter().for_each(|left| past.push(left, most));
        if dropped > 0 && past.more.is_some() {
            let more = past.more();
            more.dropped = more.dropped.saturating_add(dropped);
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
        let again = Past::restore(past.iter(), past.dropped(), 5);
        assert!(again.iter().eq(past.iter()));
        assert_eq!(again.dropped(), 5);
        let mut none = Past::default();
        none.push(Left::new(StateType::Running, Text::of("Running"), None, 0), 0);
        assert_eq!(none.iter().count(), 0);
    }
}
