//! Deliberate mistakes in the protocol, so that each model is seen to fail without what it is there for.
//!
//! They exist only under the model checker. In every other build the question is the constant *no*.

/// One step of the protocol done wrongly.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(not(loom), allow(dead_code, reason = "only models make mistakes"))]
pub(super) enum Fault {
    /// Everything is done right.
    #[default]
    None,
    /// A pop lets a higher band go before it locks the next.
    LetGo,
    /// A pop finds the highest level under the lock and takes from it under the next lock.
    LookThenTake,
    /// A removal finds the item under the lock and takes the first of the level under the next lock.
    FindThenTake,
    /// A move takes the item out under one lock and puts it in under the next.
    MoveApart,
    /// The levels are counted one after the other.
    CountApart,
    /// The room is looked at first and taken afterwards.
    CheckThenCount,
    /// A push wakes before its item is in, a pop before its item is out.
    WakeFirst,
    /// A waiter for room looks while it holds the lock of its own level alone.
    LookAtOneLock,
    /// A waiter looks at the lanes before it enters the line, and not after.
    LookThenEnter,
    /// A waiter that was woken and goes away keeps the wake-up.
    KeepWakeUp,
    /// A close wakes the waiters before it closes.
    WakeThenClose,
    /// A waiter that found an item itself keeps the wake-up that came meanwhile.
    KeepSecond,
}

impl Fault {
    /// Whether this mistake is to be made here.
    #[inline]
    pub(super) fn is(self, other: Self) -> bool {
        cfg!(loom) && self == other
    }
}
