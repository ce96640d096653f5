"""What the synthetic human can do, and how people say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shards import synthetic_activities as motions


@dataclass(frozen=True)
class Activity:
    """Curves and words. `{side}` is replaced by right or left; without it an activity has no side."""

    move: Callable[[motions.Motion], None]
    label: str
    says: tuple[str, ...]
    once: bool = False  # a posture, or a change from one to another: it has no pauses

    @property
    def sided(self) -> bool:
        return "{side}" in self.says[0]


# fmt: off
ACTIVITIES: dict[str, Activity] = {
    a.move.__name__: a
    for a in (
        Activity(motions.walk, "walking", ("walks at an even pace", "strolls along", "puts one foot before the other, arms swinging a little")),
        Activity(motions.jog, "jogging", ("jogs", "runs at an easy pace", "goes for a run with bent elbows")),
        Activity(motions.march, "marching", ("marches with high knees", "lifts the knees high at each step", "steps like a soldier on parade")),
        Activity(motions.limp, "limping", ("limps on the {side} leg", "walks with a hurt {side} leg", "drags the {side} leg along")),
        Activity(motions.side_step, "stepping sideways", ("steps sideways", "moves sideways, feet apart then together", "shuffles to the side")),
        Activity(motions.skip, "skipping", ("skips along", "hops and steps in turn like a child", "goes with springing steps")),
        Activity(motions.jump, "jumping", ("jumps up with both feet", "leaps off the ground again and again", "springs up after bending the knees")),
        Activity(motions.jumping_jack, "jumping jacks", ("does jumping jacks", "jumps while spreading arms and legs", "hops the feet apart as the arms go up")),
        Activity(motions.hop, "hopping on one leg", ("hops with the {side} leg lifted", "holds the {side} foot up and hops on the other", "bounces on one leg, {side} knee bent")),
        Activity(motions.squat, "squatting", ("does squats", "bends the knees deep and rises again", "lowers the hips and comes up")),
        Activity(motions.lunge, "lunging", ("lunges with the {side} leg in front", "drops into a lunge, {side} foot ahead", "sinks on a bent {side} knee and comes back")),
        Activity(motions.kick, "kicking", ("kicks with the {side} foot", "kicks a ball with the {side} leg", "swings the {side} leg forward hard")),
        Activity(motions.jump_rope, "jumping rope", ("jumps rope", "makes small quick jumps while turning a rope", "skips over a rope")),
        Activity(motions.torso_twist, "twisting the torso", ("twists the upper body from side to side", "turns the trunk left and right", "rotates the shoulders over still feet")),
        Activity(motions.row, "rowing", ("rows", "pulls both arms back as on a rowing machine", "leans and pulls an oar")),
        Activity(motions.boxing, "boxing", ("punches with both fists in turn", "shadow-boxes", "throws left and right jabs")),
        Activity(motions.throw, "throwing", ("throws with the {side} arm", "pitches a ball overhand with the {side} hand", "winds up the {side} arm and throws")),
        Activity(motions.tennis_swing, "swinging a racket", ("swings a racket with the {side} arm", "hits a forehand with the {side} hand", "plays a tennis stroke with the {side} arm")),
        Activity(motions.basketball_shot, "shooting a basketball", ("shoots a basketball", "throws a ball at a hoop with both hands", "dips and shoots at the basket")),
        Activity(motions.bowling, "bowling", ("bowls with the {side} hand", "swings the {side} arm low and rolls a ball", "stoops and bowls a ball with the {side} arm")),
        Activity(motions.wave, "waving", ("waves the {side} hand", "greets someone with the raised {side} hand", "moves the lifted {side} hand from side to side")),
        Activity(motions.clap, "clapping", ("claps", "applauds", "strikes the palms together before the chest")),
        Activity(motions.knock, "knocking", ("knocks on a door with the {side} hand", "raps on wood with the {side} fist", "taps a door three times with the {side} hand")),
        Activity(motions.hammer, "hammering", ("hammers with the {side} hand", "drives in a nail with the {side} hand", "strikes down with a hammer in the {side} hand")),
        Activity(motions.wipe, "wiping a table", ("wipes a table with the {side} hand", "cleans a surface with the {side} hand", "sweeps the {side} hand across a table")),
        Activity(motions.stir, "stirring", ("stirs a pot with the {side} hand", "mixes with a spoon in the {side} hand", "moves the {side} hand in small circles over a pot")),
        Activity(motions.shake, "shaking a bottle", ("shakes a bottle with the {side} hand", "shakes something hard in the {side} hand", "rattles a bottle in the {side} hand")),
        Activity(motions.saw, "sawing", ("saws with the {side} arm", "cuts wood with a saw in the {side} hand", "pushes and pulls a saw with the {side} hand")),
        Activity(motions.drink, "drinking", ("drinks from a cup in the {side} hand", "lifts a glass to the mouth with the {side} hand", "takes a sip, cup in the {side} hand")),
        Activity(motions.arm_circles, "circling the arms", ("makes circles with both arms", "rotates the outstretched arms", "turns both arms in big circles")),
        Activity(motions.sit_down, "sitting down", ("sits down", "settles into a chair", "goes down to sit"), once=True),
        Activity(motions.stand_up, "standing up", ("stands up", "leaves a seat and stands", "comes upright after sitting"), once=True),
        Activity(motions.pick_up, "picking something up", ("picks something up with the {side} hand", "crouches and takes an object off the floor with the {side} hand", "lifts a thing from the ground with the {side} hand")),
        Activity(motions.bow, "bowing", ("bows", "bends forward at the hips and straightens", "leans down in greeting")),
        Activity(motions.turn_around, "turning around", ("turns around on the spot", "swings about to look the other way", "makes an about-turn"), once=True),
        Activity(motions.stand, "standing still", ("stands still", "stays in place without moving", "waits, standing"), once=True),
    )
}
# fmt: on
