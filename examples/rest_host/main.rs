//! An engine behind HTTP, with a page to look at: `cargo run --release --example rest_host -- --demo`.
//!
//! It keeps one engine for each organisation, in memory, and answers on a loopback port:
//!
//! * `/v1/async`: the asynchronous task queue. Create a task or a batch of up to 500, read a task, read the queue status;
//! * `/api`: the reference's deployments API, as far as the engine's methods carry it;
//! * `/`: the live queue status for a person;
//! * `/metrics`: the numbers for Prometheus, with `--features metrics`.
//!
//! Every call carries a bearer token, which says whose engine it is about; no organisation sees another. Tasks are
//! executed for real, by the host itself: `sleep` waits, `hash` computes, `fail` fails.
//!
//! The handlers are thin: read the request, call the engine, write the answer. What they must not do by themselves, hold
//! off a slow or hostile client, is in `server` (connections, time) and `gate` (rates, memory).

#![allow(
    unreachable_pub,
    reason = "a module's `pub` items are its face, as if the module were a crate"
)]

mod answer;
mod api;
mod args;
#[path = "../shared/arguments.rs"]
mod arguments;
mod demo;
mod gate;
mod host;
mod live;
mod page;
mod read;
mod server;
mod tasks;
#[cfg(test)]
mod tests;
mod work;

use std::process::ExitCode;

use args::Command;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)) {
        Ok(Command::Serve(options)) => match serve(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => refused(&*problem),
        },
        Ok(Command::Help) => {
            println!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Err(problem) => refused(&problem),
    }
}

fn refused(problem: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("rest_host: {problem}");
    ExitCode::from(2)
}

fn serve(options: &args::Options) -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", options.port))
            .await
            .map_err(|error| {
                format!(
                    "port {} cannot be had: {error}; give another with --port",
                    options.port
                )
            })?;
        let address = listener.local_addr()?;
        let host = host::Host::start(options)?;
        println!("listening on http://{address}");
        for (name, token) in &options.orgs {
            println!("  {name}: http://{address}/#token={token}");
        }
        if options.demo {
            demo::start(host.first())?;
        }
        let stop = async {
            // Without a way to hear of Ctrl-C there is nothing to wait for but the end of the process.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        server::serve(listener, host.clone(), stop).await;
        println!("stopping: tasks that run have three seconds");
        host.stop().await;
        Ok(())
    })
}
