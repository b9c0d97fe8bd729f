//! The Lambda function `create_pipeline`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(create_pipeline::function)
}
