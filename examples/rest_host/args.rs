//! The command line.

use crate::arguments::Arguments;

/// What `--help` prints.
pub const HELP: &str = "\
rest_host: an engine behind HTTP on a loopback port, with a page to look at

  rest_host [--port N] [--slots N] [--org NAME=TOKEN]... [--rate N] [--waiting N] [--demo]

  --port N          where it listens, on 127.0.0.1; 4200 unless given, 0 for any that is free
  --slots N         tasks of one organisation that run at once; 4 unless given, 1 to 256
  --org NAME=TOKEN  an organisation and its bearer token; may be given again. Unless given there are two:
                    acme=acme-token and globex=globex-token
  --rate N          requests of one organisation in a second; 1000 unless given, 1 to 1000000
  --waiting N       tasks and runs of one organisation that may wait; 100000 unless given, 1 to 10000000
  --demo            fills the first organisation: deployments with schedules, and tasks that come in waves";

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Serve.
    Serve(Options),
    /// Print [`HELP`].
    Help,
}

/// Settings of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where it listens; 0 is any free port.
    pub port: u16,
    /// Tasks of one organisation that run at once.
    pub slots: u32,
    /// Names and tokens.
    pub orgs: Vec<(String, String)>,
    /// Requests of one organisation in a second.
    pub rate: u32,
    /// Whether the first organisation is given something to do.
    pub demo: bool,
    /// Runs that may wait in one organisation.
    pub waiting: usize,
}

impl Default for Options {
    fn default() -> Self {
        let org = |name: &str| (name.to_owned(), format!("{name}-token"));
        Self {
            port: 4200,
            slots: 4,
            orgs: vec![org("acme"), org("globex")],
            rate: 1000,
            demo: false,
            waiting: 100_000,
        }
    }
}

/// Reads the arguments, without the program's name.
///
/// # Errors
///
/// A sentence about the argument that is wrong.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut arguments = Arguments::new(arguments);
    let mut options = Options::default();
    let mut orgs = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--port" => options.port = arguments.number(&argument, 0, 65_535)?,
            "--slots" => options.slots = arguments.number(&argument, 1, 256)?,
            "--rate" => options.rate = arguments.number(&argument, 1, 1_000_000)?,
            "--waiting" => options.waiting = arguments.number(&argument, 1, 10_000_000)?,
            "--org" => orgs.push(org(&arguments.value(&argument)?, &orgs)?),
            "--demo" => options.demo = true,
            other => return Err(format!("unknown argument `{other}`; see --help")),
        }
    }
    if !orgs.is_empty() {
        options.orgs = orgs;
    }
    Ok(Command::Serve(options))
}

fn org(text: &str, others: &[(String, String)]) -> Result<(String, String), String> {
    let (name, token) = text
        .split_once('=')
        .filter(|(name, token)| !name.is_empty() && !token.is_empty())
        .ok_or_else(|| format!("--org takes NAME=TOKEN, not `{text}`"))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "the token of `{name}` holds what a header cannot; use visible ASCII"
        ));
    }
    if others.iter().any(|other| other.0 == name || other.1 == token) {
        return Err(format!(
            "`{text}` repeats a name or a token; each organisation has its own"
        ));
    }
    Ok((name.to_owned(), token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn nothing_given_is_two_organisations_on_the_usual_port() {
        assert_eq!(read(""), Ok(Command::Serve(Options::default())));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_way_out() {
        let refusals = [
            (
                "--port 70000",
                "--port takes a number from 0 to 65535, not `70000`",
            ),
            ("--slots", "--slots needs a value; see --help"),
            ("--org acme", "--org takes NAME=TOKEN, not `acme`"),
            (
                "--org a=t --org b=t",
                "`b=t` repeats a name or a token; each organisation has its own",
            ),
            ("--fast", "unknown argument `--fast`; see --help"),
        ];
        for (line, refusal) in refusals {
            assert_eq!(read(line), Err(refusal.to_owned()));
        }
    }
}
