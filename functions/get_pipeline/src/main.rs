//! The Lambda function `get_pipeline`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_pipeline::function)
}
