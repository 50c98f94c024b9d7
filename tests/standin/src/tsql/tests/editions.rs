//! What an edition or a version allows an availability group to be.

use super::{
    groups::{CREATE, SETUP},
    *,
};

async fn with_endpoint(version: &str, pid: &str) -> (Server, Session) {
    let server = start_edition(&Disk::memory(), version, pid).await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, SETUP).await;
    (server, session)
}

/// CREATE of a basic group with more replicas of these modes.
fn basic(more: &[&str]) -> String {
    let create = CREATE
        .replace("DB_FAILOVER = ON", "BASIC, DB_FAILOVER = ON")
        .replace("ALLOW_CONNECTIONS = ALL", "ALLOW_CONNECTIONS = NO");
    create + &replicas(more, "NO")
}

fn replicas(modes: &[&str], connections: &str) -> String {
    let data = format!(
        "FAILOVER_MODE = EXTERNAL, SEEDING_MODE = AUTOMATIC, SECONDARY_ROLE (ALLOW_CONNECTIONS = {connections}), "
    );
    let one = |(i, mode): (usize, &&str)| {
        let options = if *mode == "CONFIGURATION_ONLY" { "" } else { data.as_str() };
        let n = i + 1;
        format!(", N'sql-{n}' WITH (ENDPOINT_URL = N'tcp://sql-{n}:5022', {options}AVAILABILITY_MODE = {mode})")
    };
    modes.iter().enumerate().map(one).collect()
}

const SYNC: &str = "SYNCHRONOUS_COMMIT";
const ASYNC: &str = "ASYNCHRONOUS_COMMIT";
const WITNESS: &str = "CONFIGURATION_ONLY";

#[tokio::test]
async fn express_and_web_have_no_groups_and_standard_has_basic_ones_only() {
    for pid in ["express", "web"] {
        let (_server, mut session) = with_endpoint("16.0.4225.2", pid).await;
        for sql in [CREATE.to_string(), basic(&[])] {
            assert_eq!(run(&mut session, &sql).await.numbers(), [41_199], "{pid}");
        }
    }
    for pid in ["standard", "standarddeveloper"] {
        let (_server, mut session) = with_endpoint("16.0.4225.2", pid).await;
        assert_eq!(run(&mut session, CREATE).await.numbers(), [41_199], "{pid}");
        run(&mut session, &basic(&[SYNC, WITNESS])).await.fine();
        let shown = "SELECT basic_features, automated_backup_preference_desc FROM sys.availability_groups";
        assert_eq!(run(&mut session, shown).await.row(), ["1", "primary"]);
    }
    let (_server, mut session) = with_endpoint("16.0.4225.2", "enterprise").await;
    run(&mut session, CREATE).await.fine();
    assert_eq!(run(&mut session, "SELECT basic_features FROM sys.availability_groups").await.row(), ["0"]);
}

#[tokio::test]
async fn a_basic_group_has_two_replicas_with_data_one_database_and_no_readers() {
    let (_server, mut session) = with_endpoint("16.0.4225.2", "standard").await;
    let too_many = run(&mut session, &basic(&[SYNC, ASYNC])).await;
    assert_eq!(too_many.numbers(), [35_233]);
    assert!(too_many.errors[0].text.contains("is 2"), "{:?}", too_many.errors);
    let readable = basic(&[]) + &replicas(&[SYNC], "ALL");
    assert_eq!(run(&mut session, &readable).await.numbers(), [41_199]);
    let elsewhere = basic(&[SYNC]).replace("BASIC", "BASIC, AUTOMATED_BACKUP_PREFERENCE = SECONDARY");
    assert_eq!(run(&mut session, &elsewhere).await.numbers(), [41_199]);
    run(&mut session, &basic(&[ASYNC])).await.fine();
    let add = format!("ALTER AVAILABILITY GROUP [ag1] ADD REPLICA ON {}", &replicas(&[SYNC, SYNC], "NO")[2..]);
    let third = add.split(", N'sql-2'").next().unwrap().replace("sql-1", "sql-2");
    assert_eq!(run(&mut session, &third).await.numbers(), [35_223]);
    for name in ["shop", "books"] {
        let sql = format!(
            "CREATE DATABASE [{name}]; ALTER DATABASE [{name}] SET RECOVERY FULL; BACKUP DATABASE [{name}] TO DISK = N'NUL';"
        );
        run(&mut session, &sql).await.fine();
    }
    run(&mut session, "ALTER AVAILABILITY GROUP [ag1] ADD DATABASE [shop]").await.fine();
    let second = run(&mut session, "ALTER AVAILABILITY GROUP [ag1] ADD DATABASE [books]").await;
    assert_eq!(second.numbers(), [35_200]);
    assert_eq!(run(&mut session, "ALTER AVAILABILITY GROUP [ag1] ADD DATABASE [shop]").await.numbers(), [35_280]);
}

#[tokio::test]
async fn three_synchronous_replicas_are_the_most_in_2017_and_five_since_2019() {
    for (version, most) in [("14.0.3456.2", 3), ("15.0.4385.2", 5), ("16.0.4225.2", 5)] {
        let (_server, mut session) = with_endpoint(version, "developer").await;
        let group = |synchronous: usize| CREATE.to_string() + &replicas(&vec![SYNC; synchronous - 1], "ALL");
        let refused = run(&mut session, &group(most + 1)).await;
        assert_eq!(refused.numbers(), [35_212], "{version}");
        assert!(refused.errors[0].text.contains(&format!("maximum number of {most} ")), "{:?}", refused.errors);
        run(&mut session, &group(most)).await.fine();
        let more = "ALTER AVAILABILITY GROUP [ag1] ADD REPLICA ON N'sql-8' WITH (ENDPOINT_URL = N'tcp://sql-8:5022', FAILOVER_MODE = EXTERNAL, AVAILABILITY_MODE = SYNCHRONOUS_COMMIT)";
        assert_eq!(run(&mut session, more).await.numbers(), [35_212], "{version}");
        run(&mut session, &more.replace("SYNCHRONOUS", "ASYNCHRONOUS")).await.fine();
        let (_server, mut session) = with_endpoint(version, "developer").await;
        let ten = CREATE.to_string() + &replicas(&[ASYNC; 9], "ALL");
        assert_eq!(run(&mut session, &ten).await.numbers(), [35_233], "{version}");
    }
}
