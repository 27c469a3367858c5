//! The program `event-gateway`.

fn main() -> std::process::ExitCode {
    eg_gateway::main()
}
