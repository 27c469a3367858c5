//! The program `event-gateway`.

fn main() {}
