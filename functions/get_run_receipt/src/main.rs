//! The Lambda function `get_run_receipt`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_run_receipt::function)
}
