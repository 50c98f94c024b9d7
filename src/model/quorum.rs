//! Counting votes: the only place that does.

/// Commit quorum computed from `synchronous` replicas: 0 for one or two, else half of them.
///
/// Microsoft's agent computes it so (`CalculateRequiredSynchronizedSecondariesToCommit`).
pub fn default_commit_quorum(synchronous: u32) -> u32 {
    if synchronous <= 2 { 0 } else { synchronous / 2 }
}

/// Largest commit quorum the engine accepts (error 35248 above): every synchronous replica but the primary.
pub fn largest_commit_quorum(synchronous: u32) -> u32 {
    synchronous.saturating_sub(1)
}

/// Answers needed before anybody may be promoted, of `voters` with commit quorum `commit_quorum` in force.
///
/// With two voters and commit quorum 1 the single survivor is enough: the lost one cannot have committed alone.
/// Else a majority, so that every committed configuration is seen.
pub fn need(voters: u32, commit_quorum: u32) -> u32 {
    if voters == 2 { 2 - commit_quorum.min(1) } else { voters / 2 + 1 }
}

/// Voters that make a configuration commit, the primary included. Two voters: the primary alone may commit.
pub fn majority(voters: u32) -> u32 {
    if voters == 2 { 1 } else { voters / 2 + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_commit_quorum_is_half_of_three_or_more() {
        let table: Vec<u32> = (1..=9).map(default_commit_quorum).collect();
        assert_eq!(table, [0, 0, 1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn the_default_never_exceeds_what_the_engine_accepts() {
        for s in 1..=9 {
            assert!(default_commit_quorum(s) <= largest_commit_quorum(s), "{s} synchronous replicas");
        }
    }

    #[test]
    fn needed_answers_for_one_to_nine_voters_and_every_commit_quorum() {
        let expected = [1, 2, 2, 3, 3, 4, 4, 5, 5];
        for n in 1..=9u32 {
            for rsstc in 0..n {
                let want = if n == 2 && rsstc >= 1 { 1 } else { expected[n as usize - 1] };
                assert_eq!(need(n, rsstc), want, "{n} voters, commit quorum {rsstc}");
            }
        }
    }

    #[test]
    fn any_two_majorities_share_a_voter_unless_there_are_two_voters() {
        for n in (1..=9u32).filter(|n| *n != 2) {
            assert!(2 * majority(n) > n);
            assert!(need(n, 0) + majority(n) > n);
        }
    }

    #[test]
    fn two_voters_promote_alone_only_where_no_commit_could_happen_alone() {
        assert_eq!(need(2, 0) + majority(2), 3);
        assert_eq!(need(2, 1), 1);
    }
}
