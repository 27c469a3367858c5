//! The program under test: the same entry as `event-gateway`, built with the suites.

fn main() -> std::process::ExitCode {
    eg_gateway::main()
}
