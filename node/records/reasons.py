"""What each reason of the node means and what an administrator does about it; the source of docs/operate/reasons.md."""

from dataclasses import dataclass

from node.records.states import Reason


@dataclass(frozen=True)
class ReasonHelp:
    """meaning: what happened, one or two sentences. action: what to do about it."""

    meaning: str
    action: str


REASON_HELP: dict[Reason, ReasonHelp] = {
    Reason.NOT_CT: ReasonHelp(
        "The series is not CT, or its objects are not CT images.",
        "Nothing. Only CT is segmented, and `retry` does not change that.",
    ),
    Reason.LOCALISER: ReasonHelp(
        "All images of the series are localisers.",
        "Nothing. The scan itself is another series of the study.",
    ),
    Reason.NOT_A_HIP: ReasonHelp(
        "Body Part Examined names a part without a hip, and no description mentions hip, femur, pelvis or QCT.",
        "If the series does show a hip: add a route with this `body_part` or `series_description`, "
        "restart the node, then `retry ID`.",
    ),
    Reason.MIXED_PATIENT: ReasonHelp(
        "The images of the series name different patients. The sentence says which attributes differ.",
        "Find out whose images they are. After a correction in the archive, send the whole series again. Else send "
        "those of each patient under a Series Instance UID of their own, then `cancel ID`. `release` does not help.",
    ),
    Reason.MIXED_STUDY: ReasonHelp(
        "The images of the series name different studies. The sentence says which attributes differ.",
        "Find out to which study they belong. Send those of each study under a Series Instance UID of their own, then "
        "`cancel ID`. `release` does not help.",
    ),
    Reason.CORRECTED_PATIENT: ReasonHelp(
        "Objects of the series came again under the same UIDs, but for another patient or day of study, as after a "
        "correction in the archive.",
        "Find out which is right. `release ID` makes results for the later ones; `cancel ID` leaves it as it was. "
        "Results that were delivered before must be removed in the PACS.",
    ),
    Reason.OTHER_SENDER: ReasonHelp(
        "Images were added to a series that had been decided, by another sender than that of the first ones.",
        "Find out whether they belong to it. `release ID` segments all of them, `cancel ID` leaves the former result. "
        'If several senders share the work of one: `intake.other_sender = "accept"`.',
    ),
    Reason.MIXED_ORIENTATION: ReasonHelp(
        "The slices of the series have different orientations.",
        "Send each reformation as its own series, then `cancel ID`. `release` does not help.",
    ),
    Reason.MIXED_GRID: ReasonHelp(
        "The images of the series differ in rows, columns or pixel spacing.",
        "Send each reconstruction as its own series, then `cancel ID`. `release` does not help.",
    ),
    Reason.MIXED_FRAME_OF_REFERENCE: ReasonHelp(
        "The images of the series have different frames of reference, so their relative position is unknown.",
        "Send the images of each frame of reference as their own series, then `cancel ID`. `release` does not help.",
    ),
    Reason.MISSING_GEOMETRY: ReasonHelp(
        "Position, orientation, pixel spacing or frame of reference is missing or impossible in some images.",
        "Export the series again with complete headers, under new UIDs; check what anonymisation or the PACS removes.",
    ),
    Reason.GAP: ReasonHelp(
        "Slices are missing inside the stack. The sentence names their places.",
        "Send the missing slices, or the whole series: a new revision starts automatically. `release` does not help.",
    ),
    Reason.UNEVEN_STEPS: ReasonHelp(
        "The slices are not evenly spaced: their distance changes within the scan, or some lie more than a tenth of a "
        "step from their place.",
        "Reconstruct the series with one slice distance. If slices are missing, send them.",
    ),
    Reason.INCOMPLETE: ReasonHelp(
        "Fewer images arrived than were announced; there is no gap between those that are here.",
        "Send the rest, or segment what is here with `release ID`. If the scanner counts all reconstructions in "
        'Images in Acquisition, remove `"images-in-acquisition"` from `intake.expect`.',
    ),
    Reason.STILL_ARRIVING: ReasonHelp(
        "Slices still arrived `intake.give_up_seconds` after the first.",
        "Wait: the job goes on when no slice has come for `intake.quiet_seconds`. "
        "`release ID` segments what is here at once.",
    ),
    Reason.TOO_SHORT: ReasonHelp(
        "The series has too few slices or covers too little for a hip.",
        "Usually nothing: it is not the scan. If slices are missing, send them. "
        "`retry ID` segments a series of at least 5 slices and 40 mm all the same.",
    ),
    Reason.MISSING_FILE: ReasonHelp(
        "Received files of the series are no longer on the disk, or were changed there and moved to `set-aside`.",
        "Send the series again, or put the files back and restart the node: the job then goes on. "
        "Find out who deleted them, and check the disk.",
    ),
    Reason.NOT_BEST: ReasonHelp(
        "Another series of the study suits better. The sentence says which, and why.",
        'Nothing. To segment this one as well: `retry ID`; for all studies: `intake.series_per_study = "all"`.',
    ),
    Reason.NO_ROUTE: ReasonHelp(
        "No route applies to the series.",
        "If it is wanted: see why with `qct-node route DIR --explain`, change the routes, restart the node, "
        "then `retry ID`.",
    ),
    Reason.ROUTE_DECLINES: ReasonHelp(
        'A route with `action = "decline"` applies to the series.',
        "If it is wanted: change the routes, restart the node, then `retry ID`.",
    ),
    Reason.ROUTE_HOLDS: ReasonHelp(
        'A route with `action = "hold"` applies to the series.',
        "Decide: `release ID` segments it, `cancel ID` does not.",
    ),
    Reason.PERSON_HOLDS: ReasonHelp(
        "A person stopped the job with `hold`.",
        "`release ID` lets it go on, `cancel ID` ends it.",
    ),
    Reason.PERSON_CANCELS: ReasonHelp(
        "A person stopped the job with `cancel`.",
        "Nothing. `retry ID` starts it again.",
    ),
    Reason.SUPERSEDED: ReasonHelp(
        "More slices of the series arrived; a later job of the same series takes them all.",
        "Nothing. Look at the later job.",
    ),
    Reason.REPLACED: ReasonHelp(
        "The results are out of date: more slices of the series arrived after them, and a later job has made new ones, "
        "which name these as replaced. What was not delivered of these is not sent any more.",
        "Use the results of the later job. The archive still has the old ones; remove them there if they disturb.",
    ),
    Reason.NO_DESTINATION: ReasonHelp(
        "The job is done, but its route has no destinations, or they do not take these kinds of results.",
        "If the results are wanted elsewhere: `qct-node send DATA/results/ID/ATTEMPT --to HOST:PORT --aet AE`. "
        "For later studies set `destinations` of the route, or `results` of the peer.",
    ),
    Reason.NO_FEMUR: ReasonHelp(
        "The job is done, but no proximal femur was found, or no bone could be shown to be one. "
        "Report and picture say what was seen; there is no segmentation.",
        "Look at the picture. If it shows a hip, check field of view, scan range and metal. "
        "Series of the study that were declined as `not-best` are tried next automatically.",
    ),
    Reason.WORKER_DIED: ReasonHelp(
        "The process that segmented the series was killed or the machine stopped. "
        "A queued job is tried again automatically; a failed one has used up `jobs.max_attempts`.",
        "Look for the cause in the log of the node and of the kernel (often too little memory), then `retry ID`.",
    ),
    Reason.BROKER_DOWN: ReasonHelp(
        "The broker (`node.broker_url`) does not take messages, so no worker is told of the job. Nothing is lost.",
        "See with `qct-node check` what is wrong with it, and repair it: the job then goes on by itself.",
    ),
    Reason.UNEXPECTED: ReasonHelp(
        "The time limit was exceeded, or an error occurred that nobody foresaw.",
        "Look up the job's id in the log. After the repair `retry ID` a failed job, `release ID` a held one. "
        "Please report errors of the program.",
    ),
    Reason.DELIVERY_REFUSED: ReasonHelp(
        "A peer refused a result for good, or all attempts to send it are used up. The results are kept.",
        "Read the sentence, test with `qct-node echo PEER`, repair it (often: our AE title is not registered there, or "
        "it does not accept the class: set `results` of the peer), then `retry ID`, which sends what is missing.",
    ),
    Reason.DAMAGED_FILE: ReasonHelp(
        "At its start the node found files in its inbox that are not what their names say, and of which the ledger "
        "knows nothing. They lie in `set-aside` in the data folder.",
        "Usually a power cut interrupted their transfer, and the sender sends them again. Compare the series with the "
        "sender; send it again if images are missing. Check the disk if there was no power cut. Then remove the files.",
    ),
    Reason.BROKEN_OBJECT: ReasonHelp(
        "An object that arrived cannot be read or is cut off. It was refused and not kept.",
        "Send it again. If it stays broken, check it at its source.",
    ),
    Reason.TOO_LARGE: ReasonHelp(
        "An object that arrived is larger than `intake.maximum_object_mb`. It was refused and not kept.",
        "If such objects are wanted: raise the limit, restart the node and send the object again.",
    ),
    Reason.INVALID_UID: ReasonHelp(
        "An object that arrived has a UID that is not made of digits and dots or is longer than 64 characters.",
        "Repair the UIDs at the source (often an anonymisation) and send the series again.",
    ),
    Reason.UID_MISMATCH: ReasonHelp(
        "The C-STORE command named another SOP class or instance than the data set has. The object was refused.",
        "It is a fault of the sending program: repair or replace it, then send the series again.",
    ),
    Reason.DIFFERENT_CONTENT: ReasonHelp(
        "Objects came again under the same UIDs, but with other content. "
        "They are kept beside the first ones, which are used.",
        "Find out which content is right. If it is the later one, have the source send it under new UIDs.",
    ),
    Reason.PROTOCOL_FAULT: ReasonHelp(
        "A caller broke the rules of the DICOM protocol, or speaks another protocol, and its connection was aborted. "
        "The sentence names the fault.",
        "Objects that were answered with success are kept; the sender still has the rest. If it is a scanner or an "
        "archive: check its DICOM settings (no TLS), or give the sentence to its maker.",
    ),
    Reason.CONTEXT_REJECTED: ReasonHelp(
        "A sender offered CT only in transfer syntaxes, or images only in classes, that the node does not take. "
        "It sent other objects, but no CT.",
        "Set the sender to send CT Image Storage in Explicit VR Little Endian, and send the series again.",
    ),
    Reason.EMPTY_ASSOCIATION: ReasonHelp(
        "An association ended without a C-STORE or C-ECHO, or offered nothing that the node accepts.",
        "If images should have come: see at the sender what it offers and why it stopped. Otherwise nothing.",
    ),
    Reason.REJECTED_PEER: ReasonHelp(
        "An association request was rejected: wrong called AE title, unknown sender, a known one at another address, "
        "or all associations taken. The sentence says which.",
        "Correct the called AE title at the sender; or add the sender under `[[peers]]` with its address and restart "
        "the node; or raise `maximum_associations`.",
    ),
}
