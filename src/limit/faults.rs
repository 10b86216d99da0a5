//! Faults that the loom models plant, to see each model fail when its protocol is broken. Outside of the model checker
//! there is nothing here: [`Faults`] has no size and [`Faults::has`] is always false.

/// One step of a protocol left out or weakened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// Giving back does not look for waiters.
    ReleaseForgetsWaiters,
    /// Giving back orders nothing before it.
    ReleaseRelaxed,
    /// Taking reads and writes in two steps.
    TakeInTwoSteps,
    /// Taking does not look whether somebody waits.
    TakePassesLine,
    /// A waiter announces itself without looking again.
    NoSecondLook,
    /// A cancelled waiter does not pass its turn on.
    CancelKeepsTurn,
    /// A cancelled waiter that was let in keeps the slots.
    CancelLeaks,
    /// Lowering reads and writes in two steps.
    LowerInTwoSteps,
    /// Raising lets nobody in.
    RaiseLetsNobodyIn,
    /// Closing does not wake who waits.
    CloseWakesNobody,
}

/// The fault planted, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    #[cfg(loom)]
    planted: Option<Fault>,
}

impl Faults {
    #[cfg(loom)]
    pub(super) fn plant(fault: Fault) -> Self {
        Self { planted: Some(fault) }
    }

    /// Whether this fault is planted.
    #[cfg(loom)]
    pub(super) fn has(self, fault: Fault) -> bool {
        self.planted == Some(fault)
    }

    /// Whether this fault is planted: never.
    #[cfg(not(loom))]
    #[expect(
        clippy::unused_self,
        reason = "the model checker's build has something to look at"
    )]
    pub(super) const fn has(self, _: Fault) -> bool {
        false
    }
}
