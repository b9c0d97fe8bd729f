//! The Lambda function `list_pipeline_versions`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_pipeline_versions::function)
}
