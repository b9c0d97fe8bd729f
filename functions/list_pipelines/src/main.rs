//! The Lambda function `list_pipelines`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_pipelines::function)
}
