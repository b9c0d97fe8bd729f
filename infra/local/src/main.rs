//! `flowgate`: the whole system on one machine.

use clap::Parser;
use flowgate::arguments::{Arguments, Command, Log};
use flowgate::console::warn;
use flowgate::{demo, serve, token, verify};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Arguments { command, serve } = Arguments::parse();
    let command = command.unwrap_or(Command::Serve(serve));
    match &command {
        Command::Serve(arguments) => start_logs(&arguments.log),
        Command::Demo(arguments) => start_logs(&arguments.log),
        Command::Token(_) | Command::VerifyReceipt(_) => {}
    }
    flowgate::choose_tls();
    let runtime = match shared::runtime::threads().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            warn(format_args!("error: the async runtime does not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Token(arguments) => token::run(&arguments),
            Command::VerifyReceipt(arguments) => verify::run(&arguments),
        }
    });
    // What still blocks, such as a read of a large file, must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error: warnings, unless something else is asked for.
fn start_logs(log: &Log) {
    use tracing_subscriber::EnvFilter;
    let text = log.log.as_deref().unwrap_or("warn");
    let filter = EnvFilter::try_new(text).unwrap_or_else(|error| {
        warn(format_args!("the log filter {text:?} is left out: {error}"));
        EnvFilter::new("warn")
    });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
