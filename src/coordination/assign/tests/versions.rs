use super::*;

/// A version that no release has: all to the last worker.
fn fake(question: &Question<'_>) -> Wanted {
    let (last, _) = question.members.last_key_value().unwrap();
    question.partitions.iter().map(|partition| (partition.id, last.clone())).collect()
}

fn wanted_by(versions: &[Version], published: [u32; 3]) -> Wanted {
    let mut world = World::even(3, 30, 8, 1);
    for (member, version) in world.members.values_mut().zip(published) {
        member.assign_version = version;
    }
    let question = Question {
        members: &world.members,
        drained: &world.drained,
        partitions: &world.partitions,
        owners: &world.owners,
        settings: &world.settings,
    };
    by_version(versions, &question)
}

#[test]
fn all_use_the_lowest_version_that_is_published() {
    let two: &[Version] = &[v1::assign, fake];
    let first = wanted_by(&[v1::assign], [1, 1, 1]);
    let second = wanted_by(&[fake], [1, 1, 1]);
    assert_ne!(first, second);
    assert_eq!(wanted_by(two, [2, 2, 1]), first, "one worker of the older release decides");
    assert_eq!(wanted_by(two, [2, 2, 2]), second);
    // The older release, among newer ones only, as `qdo` of that release that looks in is.
    assert_eq!(wanted_by(VERSIONS, [2, 3, 2]), first);
    assert_eq!(wanted_by(VERSIONS, [0, 1, 2]), first);
}
