//! The Lambda function `retry_run`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(retry_run::function)
}
