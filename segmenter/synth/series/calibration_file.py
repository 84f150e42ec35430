"""The calibration settings of the phantom drawn under a synthetic patient."""

from segmenter.synth.calibration_phantom_models import PhantomModel


def calibration_file(model: PhantomModel) -> str:
    """Return the text of `calibration.toml`, which `segmenter.density.settings` reads."""
    lines = [
        "# The calibration phantom of this synthetic patient. For investigational use.",
        'mode = "auto"',
        "",
        "[[phantoms]]",
        f'name = "{model.name}"',
        'serial = "synthetic"',
        'certificate_date = "2026-01-01"',
        f'equivalent_material = "{model.material}"',
        'layout = "slab"',
        f"rod_diameter_mm = {2 * model.rod_radius_mm:g}",
        f"rod_spacing_mm = {model.pitch_mm:g}",
        "rods = [",
    ]
    for rod in model.rods:
        water = "" if rod.water_mg_cm3 is None else f", water_mg_cm3 = {rod.water_mg_cm3!r}"
        lines.append(f"    {{ density_mg_cm3 = {rod.density_mg_cm3!r}{water} }},")
    return "\n".join([*lines, "]"]) + "\n"
