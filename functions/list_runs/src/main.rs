//! The Lambda function `list_runs`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_runs::function)
}
