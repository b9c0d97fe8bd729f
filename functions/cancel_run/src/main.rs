//! The Lambda function `cancel_run`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(cancel_run::function)
}
