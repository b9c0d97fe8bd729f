//! The Lambda function `preview_schedule`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(preview_schedule::function)
}
