//! The Lambda function `get_health`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_health::function)
}
