//! What the command lines of the examples have in common.

/// The arguments that are still to be read.
pub struct Arguments<I>(I);

impl<I: Iterator<Item = String>> Arguments<I> {
    /// Of arguments without the program's name.
    pub fn new(arguments: impl IntoIterator<Item = String, IntoIter = I>) -> Arguments<I> {
        Arguments(arguments.into_iter())
    }

    /// The next argument: an option, or what stands alone.
    pub fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    /// The value that follows `option`.
    ///
    /// # Errors
    ///
    /// A sentence, if nothing follows.
    pub fn value(&mut self, option: &str) -> Result<String, String> {
        self.next()
            .ok_or_else(|| format!("{option} needs a value; see --help"))
    }

    /// The number from `least` to `most` that follows `option`.
    ///
    /// # Errors
    ///
    /// A sentence, if nothing follows, or something else.
    pub fn number<T: TryFrom<u64>>(&mut self, option: &str, least: u64, most: u64) -> Result<T, String> {
        let text = self.value(option)?;
        text.parse()
            .ok()
            .filter(|number| (least..=most).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("{option} takes a number from {least} to {most}, not `{text}`"))
    }
}
