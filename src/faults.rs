//! Faults that are planted on purpose, to see that the tests find them: the gallery.
//!
//! `fault!` is true where that fault is chosen, and nowhere in an ordinary build: there it is the constant `false`, and what stands behind it is
//! gone. `.ci/gallery` builds with `--cfg tenfold_faults`, runs the simulation once for each name in the sources, and wants it to fail.

/// Whether a fault is planted here.
macro_rules! fault {
    ($name:ident) => {
        cfg!(tenfold_faults) && $crate::faults::is_planted(stringify!($name))
    };
}

/// Whether this is the fault that the variable `TENFOLD_FAULT` names. Asked in builds for the gallery alone.
pub(crate) fn is_planted(name: &str) -> bool {
    use std::sync::LazyLock;

    static CHOSEN: LazyLock<String> = LazyLock::new(|| std::env::var("TENFOLD_FAULT").unwrap_or_default());
    *CHOSEN == name
}
