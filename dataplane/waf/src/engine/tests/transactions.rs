//! What one transaction has of its own: exclusions, a response alone, memory.

use super::*;

#[test]
fn an_exclusion_that_holds_for_one_transaction_hides_its_targets_and_rules_there_and_nowhere_else() {
    let rules = rules("SecRule ARGS \"@rx x\" \"id:1,phase:1,pass\"\nSecRule ARGS \"@rx x\" \"id:2,phase:1,pass\"");
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let exclusion = |id, targets: &[&str]| {
        let target = |name: &&str| Target {
            exclude: false,
            count: false,
            variable: Variable::Args,
            key: Some(Key::Name((*name).to_owned())),
        };
        let exclusion = Exclusion {
            rules: vec![RuleRange::Ids(vec![(id, id)])],
            targets: targets.iter().map(target).collect(),
        };
        Arc::new(BoundExclusion::new(&rules, &exclusion))
    };
    let run = |target: &str, exclusions: &[Arc<BoundExclusion>]| -> Vec<u32> {
        let mut transaction = Transaction::bound(&bound, &connection(), false).with_exclusions(exclusions);
        transaction.request_line(b"GET", target.as_bytes(), b"HTTP/1.1");
        transaction.run_request_headers();
        transaction.finish().matches.iter().map(|found| found.id).collect()
    };
    let (rule, target) = (exclusion(1, &[]), exclusion(2, &["q"]));
    assert_eq!(run("/?q=x", &[]), [1, 2]);
    assert_eq!(run("/?q=x", &[Arc::clone(&rule)]), [2]);
    assert_eq!(run("/?q=x", &[Arc::clone(&target)]), [1]);
    assert_eq!(run("/?q=x&r=x", &[rule, target]), [2]);
}
