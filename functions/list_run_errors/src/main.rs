//! The Lambda function `list_run_errors`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_run_errors::function)
}
