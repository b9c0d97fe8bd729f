//! The Lambda function `run_pipeline`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(run_pipeline::function)
}
