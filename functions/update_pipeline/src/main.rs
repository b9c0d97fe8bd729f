//! The Lambda function `update_pipeline`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(update_pipeline::function)
}
