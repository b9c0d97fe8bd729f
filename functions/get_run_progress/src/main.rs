//! The Lambda function `get_run_progress`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_run_progress::function)
}
