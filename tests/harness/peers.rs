//! Programs that nobody here wrote: found where `./check` puts them, or the test says how to get
//! them.

use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::process::Command;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program on the path; stops the test with the line that installs `package`.
#[must_use]
pub fn program(name: &str, package: &str) -> Command {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    let Some(found) = found else {
        panic!("{name} is missing; install it with: apt-get install {package}");
    };
    let mut command = Command::new(found);
    command.kill_on_drop(true);
    command
}

/// Python with the libraries of `tests/peers/requirements.txt`.
#[must_use]
pub fn python(script: &str) -> Command {
    let interpreter = workspace().join("target/peers/python/bin/python");
    assert!(
        interpreter.exists(),
        "the Python peers are missing; install them with: python3 -m venv target/peers/python && \
         target/peers/python/bin/pip install -r tests/peers/requirements.txt"
    );
    let mut command = Command::new(interpreter);
    command.arg(workspace().join("tests/peers").join(script)).kill_on_drop(true);
    command
}

/// A program that came with a library of `tests/peers/requirements.txt`.
#[must_use]
pub fn python_program(name: &str) -> Command {
    let program = workspace().join("target/peers/python/bin").join(name);
    assert!(
        program.exists(),
        "{name} is missing; install it with: \
         target/peers/python/bin/pip install -r tests/peers/requirements.txt"
    );
    Command::new(program)
}

/// A file that came with a library of `tests/peers/requirements.txt`.
#[must_use]
pub fn python_file(name: &str) -> PathBuf {
    let libraries = workspace().join("target/peers/python/lib");
    let versions = std::fs::read_dir(&libraries).into_iter().flatten().flatten();
    let mut found = versions.map(|version| version.path().join("site-packages").join(name));
    found.find(|path| path.exists()).unwrap_or_else(|| {
        panic!(
            "{name} is missing; install it with: \
             target/peers/python/bin/pip install -r tests/peers/requirements.txt"
        )
    })
}

/// Node with the libraries of `tests/peers/package.json`.
#[must_use]
pub fn node(script: &str) -> Command {
    let modules = workspace().join("target/peers/node/node_modules");
    assert!(
        modules.exists(),
        "the Node peers are missing; install them with: mkdir -p target/peers/node && \
         cp tests/peers/package.json target/peers/node && npm install --prefix target/peers/node"
    );
    let mut command = program("node", "nodejs");
    command.env("NODE_PATH", modules).arg(workspace().join("tests/peers").join(script));
    command
}

/// Runs a peer to its end; stops the test when it fails.
pub async fn run(mut command: Command) -> Output {
    let output = command.output().await.unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
