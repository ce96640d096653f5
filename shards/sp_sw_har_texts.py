"""The five activities of SP-SW-HAR in words, and the two ways to turn."""

from __future__ import annotations

from shards.wordings import Wordings

# fmt: off
ACTIVITIES = {
    "SEATED": Wordings("seated", "seated",
        ("a person sits on a chair", "someone is seated and waits", "the body rests on a seat", "a person stays sitting"),
        ("sitting still on a chair", "being seated")),
    "STANDING_UP": Wordings("standing_up", "standing up",
        ("a person stands up from a chair", "someone gets up from a seat", "from sitting the body rises to standing",
         "a person rises to the feet to walk off"),
        ("getting up from a chair", "rising from a seated position")),
    "WALKING": Wordings("walking", "walking",
        ("a person walks a few metres straight ahead", "someone takes several steps forward", "a person walks at their own pace",
         "the legs step one after the other across the room"),
        ("walking forward", "going on foot in a straight line")),
    "TURNING": Wordings("turning", "turning around",
        ("a person turns around", "someone turns half round on the spot", "small steps turn the body to face the other way",
         "a person changes direction by half a turn"),
        ("turning to face backwards", "a half turn while standing")),
    "SITTING_DOWN": Wordings("sitting_down", "sitting down",
        ("a person sits down on a chair", "someone settles into a chair", "from standing the body lowers onto a chair",
         "a person turns and sits down"),
        ("taking a seat", "lowering oneself onto a chair")),
}
# fmt: on
TURNS = {
    "left": ("a person turns around to the left", "someone turns half round over the left side"),
    "right": ("a person turns around to the right", "someone turns half round over the right side"),
}
