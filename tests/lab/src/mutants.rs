//! Parts of the protocol taken out, one at a time: the story that holds by a part must fail without it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::binaries;
use crate::cargo::Build;
use crate::error::{AtPath as _, Error, Result};
use crate::progress::Progress;
use crate::shell;

struct Mutant {
    /// The part that is taken out.
    without: &'static str,
    file: &'static str,
    /// Occurs once in the file.
    from: &'static str,
    to: &'static str,
    /// Test of `tests/decide` that must fail.
    story: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        without: "answers of a majority",
        file: "src/model/quorum.rs",
        from: "else { voters / 2 + 1 }\n}\n\n/// Voters that make",
        to: "else { voters / 2 }\n}\n\n/// Voters that make",
        story: "two_lost_replicas_block_and_say_who_is_missing",
    },
    Mutant {
        without: "both answers of two replicas whose commit quorum is 0",
        file: "src/model/quorum.rs",
        from: "2 - commit_quorum.min(1)",
        to: "1",
        story: "two_replicas_without_commit_quorum_promote_nobody",
    },
    Mutant {
        without: "asking whether a voter is still connected to a silent primary",
        file: "src/decide/promote.rs",
        from: "if let Some(witness) = connected.first() {",
        to: "if let Some(witness) = connected.first().filter(|_| false) {",
        story: "that_a_container_ended_once_is_no_proof_that_its_primary_is_gone",
    },
    Mutant {
        without: "the guard of a stand-down",
        file: "src/decide/stand_down.rs",
        from: "unless_connected_to: (!exempt).then(|| record.primary.clone()),",
        to: "unless_connected_to: None.filter(|_: &ReplicaName| exempt),",
        story: "a_voter_that_is_connected_again_does_not_stand_down",
    },
    Mutant {
        without: "admission at a stand-down",
        file: "src/decide/stand_down.rs",
        from: "if !primary_stood {\n                admit.remove(&record.primary);\n            }",
        to: "admit.extend(view.voter_names());",
        story: "a_replica_that_stood_down_is_not_picked_up_by_the_primary_that_nobody_sees",
    },
    Mutant {
        without: "lineage",
        file: "src/decide/gate.rs",
        from: "lineage.contains(*name)",
        to: "lineage.contains(*name) || true",
        story: "an_equal_number_from_an_election_that_nobody_joined_elects_nobody",
    },
    Mutant {
        without: "configuration-only replicas being no candidates",
        file: "src/decide/gate.rs",
        from: "answer.mode == Mode::Synchronous",
        to: "answer.mode == Mode::Synchronous || true",
        story: "a_configuration_only_replica_counts_and_is_never_elected",
    },
    Mutant {
        without: "a raised number as the proof of a promotion",
        file: "src/decide/settle.rs",
        from: "group.number > number);",
        to: "group.number > number && false);",
        story: "nobody_goes_back_behind_a_promotion_that_took_effect",
    },
    Mutant {
        without: "the time in which a FAILOVER may still land at one that answers",
        file: "src/decide/settle.rs",
        from: "if group.failover_running || facts.server.ticks <= deadline {",
        to: "if group.failover_running && facts.server.ticks <= deadline {",
        story: "a_failover_whose_election_was_given_up_never_takes_effect",
    },
    Mutant {
        without: "the time in which a FAILOVER may still land at one that is silent",
        file: "src/decide/settle.rs",
        from: "view.seen.election_age < CANDIDATE_SILENT",
        to: "view.seen.election_age < CANDIDATE_SILENT / 1_000",
        story: "a_failover_whose_election_was_given_up_never_takes_effect",
    },
    Mutant {
        without: "a majority that follows before clients are sent",
        file: "src/decide/settle.rs",
        from: "(alone || view.is_majority(primary, &followers))",
        to: "(alone || true)",
        story: "clients_reach_no_primary_before_a_majority_follows_it",
    },
    Mutant {
        without: "sending clients to nobody while the old primary is elected again",
        file: "src/decide/promote.rs",
        from: "first.extend(routed_there.then_some(Step::Route(None)));",
        to: "let _ = routed_there;",
        story: "clients_reach_no_primary_before_a_majority_follows_it",
    },
    Mutant {
        without: "the record as judge between two that say PRIMARY",
        file: "src/decide/promote.rs",
        from: "&& (ahead || shut_out(view))",
        to: "|| ahead",
        story: "a_primary_that_nobody_followed_stands_down_for_the_recorded_one_whatever_its_number",
    },
    Mutant {
        without: "deposing a primary that is behind its voters",
        file: "src/decide/promote.rs",
        from: "&& (ahead || shut_out(view))",
        to: "&& (ahead && false || shut_out(view))",
        story: "a_primary_that_is_behind_its_voters_gives_way_to_them",
    },
    Mutant {
        without: "deposing a primary that the voters refuse",
        file: "src/decide/promote.rs",
        from: "&& (ahead || shut_out(view))",
        to: "&& ahead",
        story: "an_election_that_the_engine_refuses_does_not_depose_a_healthy_primary",
    },
    Mutant {
        without: "lowering the recorded commit quorum before the engine's",
        file: "src/decide/commit_quorum.rs",
        from: "record.commit_quorum.min(wanted).min(own.commit_quorum)",
        to: "record.commit_quorum.min(own.commit_quorum)",
        story: "two_replicas_lower_the_recorded_commit_quorum_first_and_raise_the_engines_first",
    },
    Mutant {
        without: "raising the engine's commit quorum before the recorded one",
        file: "src/decide/commit_quorum.rs",
        from: "record.commit_quorum.min(wanted).min(own.commit_quorum)",
        to: "wanted",
        story: "two_replicas_lower_the_recorded_commit_quorum_first_and_raise_the_engines_first",
    },
    Mutant {
        without: "going back to the one that serves when the engine refuses",
        file: "src/decide/election.rs",
        from: "if let Some(previous) = next.previous.take() {",
        to: "if let Some(previous) = next.previous.take().filter(|_| false) {",
        story: "an_election_that_the_engine_refuses_does_not_depose_a_healthy_primary",
    },
    Mutant {
        without: "trying a refused candidate again",
        file: "src/decide/promote.rs",
        from: "view.seen.election_age < REFUSED ||",
        to: "view.seen.election_age < REFUSED * 1_000 ||",
        story: "a_candidate_that_was_refused_for_a_passing_cause_is_tried_again",
    },
];

/// Takes each part out of a copy of the tree. Error: every story that passed without the part it is about.
pub(crate) fn run(words: Option<&str>, progress: Progress) -> Result<()> {
    let mutants: Vec<_> =
        MUTANTS.iter().filter(|mutant| words.is_none_or(|words| mutant.without.contains(words))).collect();
    let (tree, copy) = (binaries::workspace()?, binaries::cache()?.join("mutants"));
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(&copy).at(&copy)?;
    for part in ["Cargo.toml", "Cargo.lock", ".cargo", "src", "tests"] {
        let mut command = Command::new("cp");
        shell::output(
            command.arg("--recursive").arg("--no-target-directory").arg(tree.join(part)).arg(copy.join(part)),
        )?;
    }
    let build = Build::at(copy.clone())?;
    let stories: Vec<_> = mutants.iter().map(|mutant| mutant.story).collect();
    if !passes(&build, &copy, &stories)? {
        return Err(Error::refused("a story fails with nothing taken out"));
    }
    let mut survivors = Vec::new();
    for (mutant, nth) in mutants.iter().zip(1..) {
        progress.say(format!("{nth} of {}: without {}", mutants.len(), mutant.without));
        let file = copy.join(mutant.file);
        let text = fs::read_to_string(&file).at(&file)?;
        if text.matches(mutant.from).count() != 1 {
            return Err(Error::refused(format!("{} has not exactly one {:?}", mutant.file, mutant.from)));
        }
        fs::write(&file, text.replace(mutant.from, mutant.to)).at(&file)?;
        let survived = passes(&build, &copy, &[mutant.story]);
        fs::write(&file, text).at(&file)?;
        if survived? {
            survivors.push(format!("{} passes without {}", mutant.story, mutant.without));
        }
    }
    if survivors.is_empty() { Ok(()) } else { Err(Error::refused(survivors.join("\n"))) }
}

/// Whether these stories pass; an error if they did not run.
fn passes(build: &Build, copy: &Path, stories: &[&str]) -> Result<bool> {
    let mut command = build.command(&["test", "--locked", "--package", "quorate", "--test", "decide", "--"]);
    // One function changes at a time.
    command.env("CARGO_INCREMENTAL", "1");
    let output = command.args(stories).output().map_err(|source| shell::start_error(&command, source))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("test result: ")).unwrap_or_default();
    if result.is_empty() || result.starts_with("ok. 0 passed") {
        let log = copy.join("cargo.log");
        fs::write(&log, &output.stderr).at(&log)?;
        return Err(Error::refused(format!(
            "the stories did not run; the end of {}:\n{}",
            log.display(),
            shell::tail(&log, 25)
        )));
    }
    Ok(output.status.success())
}
