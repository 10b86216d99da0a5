//! How a query was answered, for hosts that tune.

use std::fmt;

use super::field::Entity;

/// How a query found its rows. Pure data; `Display` is a short table.
///
/// ```
/// use tenfold::filter::{Entity, Filter, Limits, Query};
/// use tenfold::{Engine, NewDeployment};
///
/// let engine = Engine::builder().index_from(0).build()?;
/// engine.deploy(NewDeployment::new("report", "nightly").tag("etl"))?;
/// let filter = Filter::parse(
///     Entity::Deployment,
///     r#"tags has_all ["etl"] and not paused"#,
///     chrono::DateTime::UNIX_EPOCH,
///     &Limits::default(),
/// )?;
/// let explained = engine.explain_query(&Query::new(filter))?;
/// assert_eq!((explained.rows, explained.tests.len()), (1, 2));
/// println!("{explained}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Explained {
    /// The kind of rows.
    pub entity: Entity,
    /// How many there are.
    pub rows: u64,
    /// Which way was taken for the page.
    pub way: Way,
    /// Rows that were looked at one by one for the page, in an index or in their tables.
    pub looked: u64,
    /// Rows that match.
    pub matched: u64,
    /// Which way was taken for the count.
    pub count_way: Way,
    /// Rows that were looked at one by one for the count.
    pub count_looked: u64,
    /// Whether the rows are kept in the order of the sort.
    pub ordered: bool,
    /// Each test of the filter, in the order of the text, and what answers it.
    pub tests: Vec<Tested>,
    /// The version of the engine that it describes.
    pub version: u64,
}

/// One test of a filter.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tested {
    /// The test, as text.
    pub test: String,
    /// What answers it.
    pub by: By,
    /// Rows that it holds for, or may hold for where texts still decide; none where nothing is known without asking rows.
    pub rows: Option<u64>,
}

/// A way to an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Way {
    /// Every row is asked, without an index.
    Scan,
    /// Rows are asked in the order of the sort, until the page is full.
    Walk,
    /// The rows of the rarest test are asked, and put in order.
    Pick,
    /// All rows are narrowed down as bits; what is left is put in order.
    Blocks,
    /// All rows are narrowed down as bits, and the order is walked to the end of the page.
    BlocksWalk,
    /// Sets know how many rows they hold.
    Sizes,
}

/// What answers a test.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum By {
    /// For each value, the set of rows that have it.
    Values,
    /// For each tag, the set of rows that have it.
    Tags,
    /// Trigrams propose rows, their texts decide.
    Trigrams,
    /// The texts of the rows, side by side: the pattern is too short for trigrams.
    Texts,
    /// The numbers of the rows, side by side.
    Numbers,
    /// A stretch of the order of a sort by this field.
    Order,
    /// The related rows that pass were found first, by their own index, and then the rows that they belong to.
    Join,
    /// Each row asked those that are related to it, through an index: few rows were asked.
    Related,
    /// The rows themselves.
    Rows,
}

impl Way {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Walk => "walk",
            Self::Pick => "pick",
            Self::Blocks => "blocks",
            Self::BlocksWalk => "blocks, walk",
            Self::Sizes => "sizes",
        }
    }
}

impl By {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Tags => "tags",
            Self::Trigrams => "trigrams",
            Self::Texts => "texts",
            Self::Numbers => "numbers",
            Self::Order => "order",
            Self::Join => "join",
            Self::Related => "related",
            Self::Rows => "rows",
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = if self.ordered {
            "kept in order"
        } else {
            "put in order"
        };
        writeln!(
            f,
            "{} of {} {}s match, {sort}",
            self.matched, self.rows, self.entity
        )?;
        writeln!(f, "page   {:<13} {:>9} looked at", self.way.name(), self.looked)?;
        writeln!(
            f,
            "count  {:<13} {:>9} looked at",
            self.count_way.name(),
            self.count_looked
        )?;
        for tested in &self.tests {
            match tested.rows {
                Some(rows) => write!(f, "test   {:<13} {rows:>9} rows     ", tested.by.name())?,
                None => write!(f, "test   {:<13} {:>9}          ", tested.by.name(), "-")?,
            }
            writeln!(f, " {}", tested.test)?;
        }
        Ok(())
    }
}
