use super::*;
use crate::{
    decide::upgrade::{DropAs, Instance, Mark, Side, observation::LoginFacts, plan::runner},
    model::{DatabaseName, Mode, ReplicaName, name::bracket},
};

fn group(text: &str) -> GroupName {
    GroupName::new(text).unwrap()
}

fn database(text: &str) -> DatabaseName {
    DatabaseName::new(text).unwrap()
}

fn login(text: &str) -> LoginName {
    LoginName::new(text).unwrap()
}

fn at(namespace: &str, name: &str, replica: &str) -> Instance {
    Instance { namespace: namespace.into(), group: group(name), replica: ReplicaName::new(replica).unwrap() }
}

fn production() -> Instance {
    at("shop", "orders", "orders-0")
}

fn stage() -> Instance {
    at("shop", "orders-v2", "orders-v2-0")
}

fn side(name: &str) -> Side {
    Side { group: group(name), namespace: "shop".into() }
}

fn link() -> GroupName {
    group("shop-v2")
}

fn built(step: &SqlStep) -> Result<Vec<Batch>, Unbuildable> {
    let hashes = BTreeMap::from([(login("o'shop"), Secret::new("0200AB"))]);
    let runner = Secret::new("run'pw");
    batches(step, &Context { hashes: &hashes, runner: Some(&runner), random: &|| Secret::new("random-pw") })
}

fn text(step: &SqlStep) -> String {
    let show = |batch: &Batch| {
        let inside = batch.database.as_ref().map_or_else(String::new, |database| format!(" in {database}"));
        format!("-- {}{inside}, {} s, {}\n{}\n", batch.login.name(), batch.within.as_secs(), batch.program, batch.text)
    };
    built(step).unwrap().iter().map(show).collect()
}

fn carried() -> LoginFacts {
    LoginFacts {
        sid: "0A".repeat(16),
        disabled: true,
        default_database: Some("ord]ers".into()),
        check_policy: true,
        check_expiration: true,
    }
}

#[test]
fn a_replica_of_another_group_is_trusted_and_forgotten() {
    let (at, partner) = (production(), stage());
    let trust = SqlStep::TrustPartner { at: at.clone(), partner: partner.clone(), certificate: "30ab".into() };
    insta::assert_snapshot!(text(&trust) + &text(&SqlStep::ForgetPartner { at, partner }));
}

#[test]
fn a_link_is_created_on_one_side_and_joined_on_the_other() {
    let (from, to) = (side("orders"), side("orders-v2"));
    let create = SqlStep::CreateLink { at: production(), link: link(), from: from.clone(), to: to.clone() };
    insta::assert_snapshot!(text(&create) + &text(&SqlStep::JoinLink { at: stage(), link: link(), from, to }));
}

#[test]
fn the_mode_of_a_link_is_set_on_one_side_where_it_is_another() {
    insta::assert_snapshot!(text(&SqlStep::SetLinkMode {
        at: production(),
        link: link(),
        members: [group("orders"), group("orders-v2")].into(),
        mode: Mode::Synchronous,
    }));
}

#[test]
fn a_link_is_dropped_only_as_what_it_is() {
    let drop = |as_what| text(&SqlStep::DropLink { at: stage(), link: link(), as_what });
    insta::assert_snapshot!(drop(DropAs::Leading) + &drop(DropAs::Abandoned) + &drop(DropAs::Leftover));
}

#[test]
fn a_forwarder_is_promoted_while_every_copy_is_at_rest() {
    insta::assert_snapshot!(text(&SqlStep::Promote { at: stage(), link: link(), unless_connected: true }));
}

#[test]
fn only_what_the_promotion_left_behind_is_resumed() {
    insta::assert_snapshot!(text(&SqlStep::Resume {
        at: stage(),
        group: group("orders-v2"),
        database: database("ord]ers")
    }));
}

#[test]
fn a_mark_is_written_inside_its_database_and_not_twice() {
    insta::assert_snapshot!(text(&SqlStep::WriteMark {
        at: production(),
        database: database("ord]ers"),
        mark: Mark::Barrier,
        value: "uid/1/o'nce".into(),
    }));
}

#[test]
fn a_login_is_carried_with_sid_and_hash() {
    insta::assert_snapshot!(text(&SqlStep::CarryLogin { at: stage(), login: login("o'shop"), facts: carried() }));
}

#[test]
fn a_script_has_a_login_where_its_stage_is_and_nowhere_afterwards() {
    let marks = [(database("ord]ers"), "uid/1".to_string())];
    let create = SqlStep::CreateRunner { at: stage(), attempt: "shop_1".into(), databases: marks.into() };
    let drop = SqlStep::DropRunner { at: stage(), attempt: "shop_1".into(), databases: [database("ord]ers")].into() };
    insta::assert_snapshot!(text(&create) + &text(&drop));
}

#[test]
fn a_copy_that_is_given_up_goes_by_its_mark_or_because_it_belongs_to_nobody() {
    let discard = |mark: Option<&str>| {
        text(&SqlStep::Discard { at: stage(), database: database("ord]e'rs"), mark: mark.map(Into::into) })
    };
    insta::assert_snapshot!(discard(Some("u'id/1")) + &discard(None));
}

#[test]
fn sessions_are_killed_by_number_and_time() {
    let sessions = [(57, "2026-01-31T10:00:00.123".to_string()), (60, "x'y".into())];
    insta::assert_snapshot!(text(&SqlStep::KillSessions { at: production(), sessions: sessions.into() }));
}

#[test]
fn what_is_not_hexadecimal_too_long_or_unknown_never_reaches_an_instance() {
    let trust = SqlStep::TrustPartner { at: production(), partner: stage(), certificate: "30; DROP".into() };
    assert_eq!(built(&trust), Err(Unbuildable::NotHex("certificate")));
    let long = at(&"n".repeat(63), "g", &"r".repeat(63));
    let trust = SqlStep::TrustPartner { at: production(), partner: long, certificate: "30".into() };
    assert_eq!(built(&trust), Err(Unbuildable::TooLong("name of a partner")));
    let facts = LoginFacts { sid: "0A; DROP".into(), ..carried() };
    let carry = SqlStep::CarryLogin { at: stage(), login: login("o'shop"), facts };
    assert_eq!(built(&carry), Err(Unbuildable::NotHex("SID")));
    let carry = SqlStep::CarryLogin { at: stage(), login: login("other"), facts: carried() };
    assert_eq!(built(&carry), Err(Unbuildable::NoPassword(login("other"))));
    for name in ["SA", "##MS_PolicyTsqlExecutionLogin##", "quorate_act"] {
        let carry = SqlStep::CarryLogin { at: stage(), login: login(name), facts: carried() };
        assert_eq!(built(&carry), Err(Unbuildable::NotCarried(login(name))));
    }
    let value = "x".repeat(3501);
    let mark = SqlStep::WriteMark { at: production(), database: database("d"), mark: Mark::Stage, value };
    assert_eq!(built(&mark), Err(Unbuildable::TooLong("value of a mark")));
    let drop = SqlStep::DropRunner { at: stage(), attempt: "\n".into(), databases: [].into() };
    assert_eq!(built(&drop), Err(Unbuildable::NotAName("login of a script")));
}

/// The steps with a text of a user wherever one may stand.
fn steps(evil: &str) -> Vec<SqlStep> {
    let at = at(evil, evil, evil);
    let side = Side { group: group(evil), namespace: evil.into() };
    let other = Side { group: group("g"), namespace: evil.into() };
    let facts = LoginFacts { default_database: Some(evil.into()), ..carried() };
    let (link, of) = (group(evil), database(evil));
    let mut steps = vec![
        SqlStep::TrustPartner { at: at.clone(), partner: at.clone(), certificate: "30".into() },
        SqlStep::ForgetPartner { at: at.clone(), partner: at.clone() },
        SqlStep::CreateLink { at: at.clone(), link: link.clone(), from: side.clone(), to: other.clone() },
        SqlStep::JoinLink { at: at.clone(), link: link.clone(), from: other, to: side },
        SqlStep::SetLinkMode {
            at: at.clone(),
            link: link.clone(),
            members: [link.clone()].into(),
            mode: Mode::Asynchronous,
        },
        SqlStep::Promote { at: at.clone(), link: link.clone(), unless_connected: true },
        SqlStep::Resume { at: at.clone(), group: link.clone(), database: of.clone() },
        SqlStep::Discard { at: at.clone(), database: of.clone(), mark: Some(evil.into()) },
        SqlStep::Discard { at: at.clone(), database: of.clone(), mark: None },
        SqlStep::CarryLogin { at: at.clone(), login: login(evil), facts },
        SqlStep::CreateRunner {
            at: at.clone(),
            attempt: evil.into(),
            databases: [(of.clone(), evil.to_string())].into(),
        },
        SqlStep::DropRunner { at: at.clone(), attempt: evil.into(), databases: [of.clone()].into() },
        SqlStep::KillSessions { at: at.clone(), sessions: [(57, evil.to_string())].into() },
    ];
    steps.extend([DropAs::Leading, DropAs::Abandoned, DropAs::Leftover].map(|as_what| SqlStep::DropLink {
        at: at.clone(),
        link: link.clone(),
        as_what,
    }));
    steps.extend([Mark::Barrier, Mark::Stage, Mark::Completion].map(|mark| SqlStep::WriteMark {
        at: at.clone(),
        database: of.clone(),
        mark,
        value: evil.into(),
    }));
    steps
}

/// What is left of a batch outside identifiers in brackets and literals in quotes.
pub(in crate::sql) fn outside(sql: &str) -> String {
    let (mut left, mut rest) = (String::new(), sql.chars().peekable());
    while let Some(c) = rest.next() {
        let end = match c {
            '[' => ']',
            '\'' => '\'',
            other => {
                left.push(other);
                continue;
            }
        };
        while let Some(c) = rest.next() {
            if c == end && rest.next_if_eq(&end).is_none() {
                break;
            }
        }
    }
    left
}

#[test]
fn no_name_escapes_its_quotes() {
    let hashes = |name: &str| BTreeMap::from([(login(name), Secret::new("0200AB"))]);
    for evil in ["a] KILL 1; --", "a' KILL 1; --", "a]] KILL 1", "a'' KILL 1", "]'; KILL 1; [", "[a]' + KILL 1"] {
        let (hashes, runner) = (hashes(evil), Secret::new(evil));
        let context = Context { hashes: &hashes, runner: Some(&runner), random: &|| Secret::new("a' KILL 1; --") };
        for step in steps(evil) {
            let plain = batches(&plain(&step), &context_of_plain(&context, &hashes_of_plain())).unwrap();
            let built = batches(&step, &context).unwrap();
            let left = |batches: &[Batch]| batches.iter().map(|batch| outside(&batch.text)).collect::<Vec<_>>();
            assert_eq!(left(&built), left(&plain), "{} of {evil:?}", step.word());
        }
    }
    assert_eq!(outside(&format!("DROP LOGIN {};", bracket(&runner("a]b")))), "DROP LOGIN ;");
}

/// The same step with harmless texts: outside of quotes they have to be the same.
fn plain(step: &SqlStep) -> SqlStep {
    let word = |step: &SqlStep| serde_json::to_value(step).unwrap();
    let wanted = word(step);
    let kind = |value: &serde_json::Value| {
        let (name, fields) = value.as_object().unwrap().iter().next().unwrap();
        let mark = fields.get("mark").map(|mark| if name == "Discard" { mark.is_null().into() } else { mark.clone() });
        (name.clone(), fields.get("as_what").cloned(), mark)
    };
    steps("plain").into_iter().find(|other| kind(&word(other)) == kind(&wanted)).unwrap()
}

fn hashes_of_plain() -> BTreeMap<LoginName, Secret> {
    BTreeMap::from([(login("plain"), Secret::new("0200AB"))])
}

fn context_of_plain<'a>(context: &Context<'a>, hashes: &'a BTreeMap<LoginName, Secret>) -> Context<'a> {
    Context { hashes, ..*context }
}
