//! The load generator, as whoever measures runs it.

use eg_tests::gateway::Gateway;
use serde_json::Value;
use tokio::process::Command;

use crate::PROGRAM;

/// A second of load on the gateway; gives back the report.
async fn load(gateway: &Gateway, args: &[&str]) -> Value {
    let target = gateway.address("mqtt").to_string();
    let always = ["-o", "json", "bench", "mqtt", "--warmup", "0", "--duration", "1", "--target"];
    let mut command = Command::new(PROGRAM);
    let output = command.args(always).arg(target).args(args).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn every_subscriber_gets_every_publication_once_and_in_order() {
    let gateway = Gateway::start(PROGRAM).await;
    for version in ["3.1.1", "5"] {
        for qos in ["0", "1", "2"] {
            let fan = ["--connections", "2", "--subscribers", "3", "--rate", "200"];
            let args = [&["--version", version, "--qos", qos][..], &fan].concat();
            let report = load(&gateway, &args).await;
            let deliveries = &report["deliveries"];
            assert!(deliveries["received"].as_u64().unwrap() > 0, "{args:?}: {report}");
            for wrong in ["missing", "duplicates", "out_of_order", "foreign"] {
                assert_eq!(deliveries[wrong], 0, "{args:?}: {report}");
            }
            assert_eq!(report["errors"], serde_json::json!({}), "{args:?}");
        }
    }
}

#[tokio::test]
async fn members_of_a_shared_subscription_get_every_publication_once_together() {
    let gateway = Gateway::start(PROGRAM).await;
    let filter = "$share/group/bench/#";
    let args = ["--connections", "2", "--subscribers", "3", "--filter", filter];
    let report = load(&gateway, &args).await;
    let deliveries = &report["deliveries"];
    assert!(deliveries["received"].as_u64().unwrap() > 0, "{report}");
    assert_eq!((&deliveries["missing"], &deliveries["duplicates"]), (&0.into(), &0.into()));
}
