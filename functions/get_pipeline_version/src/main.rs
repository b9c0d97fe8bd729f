//! The Lambda function `get_pipeline_version`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(get_pipeline_version::function)
}
