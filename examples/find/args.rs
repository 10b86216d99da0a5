//! The command line.

use tenfold::filter::{Entity, Field, Kind, SortKey};

use crate::arguments::Arguments;

/// What `--help` prints.
pub const HELP: &str = r#"find: asks a made-up catalog of deployments

  find FILTER [--rows N] [--sort FIELD] [--size N]

  FILTER        which deployments, in the text form; `true` for all of them
  --rows N      how many rows are shown; 20 unless given, at most 200
  --sort FIELD  by which field of a deployment, `-FIELD` for the greatest first; by name unless given
  --size N      how many deployments there are; 100000 unless given, at most 1000000

Try:

  find 'deployment.tags has_all ["etl"] and not paused'
  find 'priority >= 9 and flow.name starts_with "export"' --sort -priority
  find 'queue.pool.name = "gpu" and any run where (state_type = FAILED)'
  find 'tags is empty or (version is null and work_queue_name in ["bulk", "urgent"])' --rows 5

The exit code is 0 when the question was answered, 2 for a wrong filter or argument."#;

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Answer a question.
    Find(Options),
    /// Print [`HELP`].
    Help,
}

/// A question.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// Which deployments.
    pub filter: String,
    /// How many are shown.
    pub rows: u32,
    /// In which order.
    pub sort: Option<SortKey>,
    /// How many there are.
    pub size: usize,
}

/// Reads the arguments, without the program's name.
///
/// # Errors
///
/// A sentence about the argument that is wrong.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut arguments = Arguments::new(arguments);
    let mut options = Options {
        filter: String::new(),
        rows: 20,
        sort: None,
        size: 100_000,
    };
    let mut filter = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--rows" => options.rows = arguments.number(&argument, 0, 200)?,
            "--size" => options.size = arguments.number(&argument, 0, 1_000_000)?,
            "--sort" => options.sort = Some(key(&arguments.value(&argument)?)?),
            option if option.starts_with("--") => {
                return Err(format!("unknown option `{option}`; see --help"));
            }
            text if filter.is_none() => filter = Some(text.to_owned()),
            extra => {
                return Err(format!("one filter is enough, in quotes; `{extra}` is too much"));
            }
        }
    }
    options.filter = filter.ok_or("which deployments? give a filter, such as `not paused`; see --help")?;
    Ok(Command::Find(options))
}

fn key(text: &str) -> Result<SortKey, String> {
    let (name, make): (&str, fn(_) -> _) = match text.strip_prefix('-') {
        Some(name) => (name, SortKey::descending),
        None => (text, SortKey::ascending),
    };
    let sortable = || {
        Entity::Deployment
            .fields()
            .filter(|field| field.kind() != Kind::Tags)
    };
    let field = sortable().find(|field| field.name() == name);
    field.map(make).ok_or_else(|| {
        let names: Vec<&str> = sortable().map(Field::name).collect();
        format!(
            "--sort takes a field of a deployment, not `{name}`: {}",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Command, String> {
        parse(line.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        for (line, says) in [
            (&[][..], "give a filter"),
            (&["a", "b"], "`b` is too much"),
            (&["true", "--rows", "201"], "from 0 to 200"),
            (&["true", "--rows"], "--rows needs a value"),
            (&["true", "--sort", "tags"], "not `tags`: id, created"),
            (&["--fast"], "unknown option `--fast`"),
        ] {
            let refused = read(line).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        assert_eq!(read(&["true", "--help"]), Ok(Command::Help));
    }
}
