//! The Lambda function `not_found`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(not_found::function)
}
