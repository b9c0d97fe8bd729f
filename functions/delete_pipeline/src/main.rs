//! The Lambda function `delete_pipeline`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(delete_pipeline::function)
}
