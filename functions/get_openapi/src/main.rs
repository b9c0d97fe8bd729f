//! The Lambda function `get_openapi`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_openapi::function)
}
